/** A row of tabs: left and right move between them, as WAI-ARIA's authoring practices describe. */

interface Props<T extends string> {
  label: string;
  tabs: { value: T; label: string; hint?: string }[];
  value: T;
  onChange: (value: T) => void;
  controls: string;
}

export function Tabs<T extends string>({ label, tabs, value, onChange, controls }: Props<T>) {
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const here = tabs.findIndex((tab) => tab.value === value);
    const next = tabs[(here + step + tabs.length) % tabs.length];
    onChange(next.value);
    (event.currentTarget as HTMLElement).querySelector<HTMLElement>(`[data-tab="${next.value}"]`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} onKeyDown={onKey}>
      {tabs.map((tab) => (
        <button
          key={tab.value}
          type="button"
          role="tab"
          data-tab={tab.value}
          aria-selected={tab.value === value}
          aria-controls={controls}
          tabIndex={tab.value === value ? 0 : -1}
          onClick={() => onChange(tab.value)}
        >
          {tab.label}
          {tab.hint && <span class="hint">{tab.hint}</span>}
        </button>
      ))}
    </div>
  );
}
