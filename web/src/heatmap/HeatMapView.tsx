/** Placeholder of this commit. */
import type { ViewProps } from "../Workspace";
export function HeatMapView(_props: ViewProps) { return null; }
