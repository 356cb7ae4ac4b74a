/** Placeholder of this commit. */
import type { HomeDocument } from "../data/contract";
import type { ViewProps } from "../Workspace";
export function BesideView(_props: ViewProps & { home: HomeDocument }) { return null; }
