/** Placeholder of this commit. */
import type { ViewProps } from "../Workspace";
export function ImagesView(_props: ViewProps) { return null; }
