/** Placeholder of this commit. */
export function BesideChooser(_props: { home: unknown; map: unknown; address: unknown }) { return null; }
