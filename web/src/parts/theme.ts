/** Light or dark: what the system prefers, or what the reader chose. */
import { useEffect, useState } from "preact/hooks";
import type { Theme } from "../colour/encodings";
import { recall, remember } from "./memory";

const DARK = "(prefers-color-scheme: dark)";
const listeners = new Set<() => void>();

function chosen(): Theme | null {
  const value = recall("theme");
  return value === "light" || value === "dark" ? value : null;
}

function present(): Theme {
  return chosen() ?? (matchMedia(DARK).matches ? "dark" : "light");
}

/** Marks the page with the present theme. */
export function applyTheme(): void {
  document.documentElement.dataset.theme = present();
}

export function switchTheme(): void {
  remember("theme", present() === "dark" ? "light" : "dark");
  applyTheme();
  for (const listener of listeners) listener();
}

export function useTheme(): Theme {
  const [theme, setTheme] = useState(present);
  useEffect(() => {
    const read = () => {
      applyTheme();
      setTheme(present());
    };
    listeners.add(read);
    matchMedia(DARK).addEventListener("change", read);
    return () => {
      listeners.delete(read);
      matchMedia(DARK).removeEventListener("change", read);
    };
  }, []);
  return theme;
}
