/** Remembers small texts in the browser; a browser that refuses (a file:// page, a private window) forgets them. */

const PREFIX = "cellassets.explorer.";

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    return;
  }
}

export function recall(key: string): string | null {
  try {
    return localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}
