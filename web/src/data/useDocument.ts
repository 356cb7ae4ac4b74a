/** The state of something that loads: a hook for components. */
import { useEffect, useState } from "preact/hooks";

export interface Loading<T> {
  value: T | null;
  error: string | null;
  isLoading: boolean;
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Runs `load` when `key` changes; a null key means that nothing is wanted. The last value stays while the next one
 * loads only when `keep` is set, so that a panel does not show one perturbation's data under another's name.
 */
export function useLoaded<T>(key: string | null, load: () => Promise<T>, keep = false): Loading<T> {
  const [state, setState] = useState<Loading<T> & { key: string | null }>({ key: null, value: null, error: null, isLoading: key !== null });
  useEffect(() => {
    if (key === null) return setState({ key, value: null, error: null, isLoading: false });
    let isWanted = true;
    setState((last) => ({ key, value: keep ? last.value : null, error: null, isLoading: true }));
    load().then(
      (value) => isWanted && setState({ key, value, error: null, isLoading: false }),
      (error) => isWanted && setState({ key, value: null, error: sentence(error), isLoading: false }),
    );
    return () => void (isWanted = false);
  }, [key]);
  if (state.key !== key) return { value: keep ? state.value : null, error: null, isLoading: key !== null };
  return state;
}
