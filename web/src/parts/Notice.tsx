/** Plain sentences for what is loading, empty or missing. */
import type { ComponentChildren } from "preact";

export function LoadingLine({ what }: { what: string }) {
  return <p class="notice loading" role="status">Loading {what} …</p>;
}

export function ErrorLine({ message, children }: { message: string; children?: ComponentChildren }) {
  return (
    <div class="notice error" role="alert">
      <p>{message}</p>
      {children}
    </div>
  );
}

export function EmptyLine({ children }: { children: ComponentChildren }) {
  return <p class="notice empty">{children}</p>;
}
