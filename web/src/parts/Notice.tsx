/** Plain sentences for what is loading, empty or missing. */
import type { ComponentChildren } from "preact";

/** Text with `commands` set as code. */
function withCode(text: string): ComponentChildren {
  return text.split("`").map((part, i) => (i % 2 ? <code key={i}>{part}</code> : part));
}

export function LoadingLine({ what }: { what: string }) {
  return <p class="notice loading" role="status">Loading {what} …</p>;
}

export function ErrorLine({ message, children }: { message: string; children?: ComponentChildren }) {
  return (
    <div class="notice error" role="alert">
      <p>{withCode(message)}</p>
      {children}
    </div>
  );
}

export function EmptyLine({ children }: { children: ComponentChildren }) {
  return <p class="notice empty">{children}</p>;
}
