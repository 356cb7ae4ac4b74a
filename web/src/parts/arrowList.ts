/** Arrow keys in a list: up and down move between its links and buttons, Home and End go to its ends. */

const STEPS: Record<string, number> = { ArrowDown: 1, ArrowUp: -1 };

export function onListKey(event: KeyboardEvent): void {
  const list = event.currentTarget as HTMLElement;
  const items = [...list.querySelectorAll<HTMLElement>("a.name, [data-item]")];
  const here = items.indexOf(document.activeElement as HTMLElement);
  if (here < 0) return;
  const next = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : here + (STEPS[event.key] ?? 0);
  if (next === here && !(event.key in STEPS)) return;
  event.preventDefault();
  items[Math.max(0, Math.min(items.length - 1, next))].focus();
}
