/**
 * The documents that the back-end serves, as types. Paths and meanings: README.md, "Documents". `row` is the number of
 * a perturbation within its map; null means unknown.
 */

/** Numbers as base64 text, little-endian, C order. float16 holds the raw half-precision bits. */
export interface EncodedArray {
  dtype: "float64" | "float32" | "float16" | "uint8" | "uint16" | "int32";
  shape: number[];
  base64: string;
}

export interface HomeMap {
  dataset_id: string;
  model_key: string;
  n_perturbations: number;
  n_dimensions: number;
  is_champion: boolean;
  cell_types: string[];
  exposure?: string | null;
  published_at?: string | null;
  links?: { report?: string | null; dagster?: string | null; mlflow?: string | null };
}

export interface HomeDocument {
  version: string;
  title: string;
  made_at: string;
  maps: HomeMap[];
}

export type PerturbationKind = "gene" | "compound" | "control";

export interface IndexDocument {
  dataset_id: string;
  model_key: string;
  n_rows: number;
  block_rows: { neighbours: number; profiles: number; vectors: number };
  perturbation_id: string[];
  perturbation_kind: (PerturbationKind | null)[];
  gene_symbol: (string | null)[];
  guide_id: (string | null)[];
  compound_id: (string | null)[];
  concentration_um: (number | null)[];
  control_kind: (string | null)[];
  n_wells: (number | null)[];
  n_batches: (number | null)[];
  is_active: (boolean | null)[];
  distance_sd: (number | null)[];
  distance_sd_low: (number | null)[];
  distance_sd_high: (number | null)[];
  activity_q_value: (number | null)[];
  magnitude_q_value: (number | null)[];
  /** Why there is no answer to "is it active". */
  not_tested?: (string | null)[];
  agreement: (number | null)[];
  x: EncodedArray | null;
  y: EncodedArray | null;
  cluster: (number | null)[];
  /** One entry per row, or the map's own cell types. */
  cell_types: (string | string[] | null)[];
  null: { method: string; n_tested: number } | null;
  annotation_sources: { kind: string; name: string; n_sets: number }[];
}

export interface Neighbour {
  row: number;
  cosine: number;
  p_value: number | null;
  q_value: number | null;
  relations: string[];
}

export interface NeighbourRow {
  nearest: Neighbour[];
  opposite: Neighbour[];
  why_not_tested?: string | null;
}

export interface NeighboursDocument {
  first_row: number;
  rows: NeighbourRow[];
}

export interface VectorsDocument {
  first_row: number;
  unit: EncodedArray;
}

export interface ProfileWell {
  experiment_id: string;
  plate_id: string;
  well_id: string;
  batch_id: string | null;
  n_sites: number;
  cosine_to_others: number | null;
}

export interface Dose {
  row: number;
  concentration_um: number;
  distance_sd: number | null;
  distance_sd_low: number | null;
  distance_sd_high: number | null;
  activity_q_value: number | null;
  is_active: boolean | null;
}

export interface Guide {
  guide_id: string;
  n_wells: number;
  /** Mean cosine between two wells of the guide. */
  agreement: number | null;
  /** Cosine between the guide and all other guides of the gene. */
  cosine_to_others: number | null;
}

export interface ProfileRow {
  wells: ProfileWell[];
  guides: Guide[];
  doses: Dose[];
  lowest_active_um: number | null;
  known: { row: number; sources: string[]; cosine: number | null }[];
  sets: { source: string; set_id: string }[];
}

export interface ProfilesDocument {
  first_row: number;
  rows: ProfileRow[];
}

export interface AnnotationSource {
  kind: string;
  name: string;
  background: number[];
  sets: { id: string; rows: number[] }[];
}

export interface SetsDocument {
  sources: AnnotationSource[];
}

export interface PlateDocument {
  experiment_id: string;
  plate_id: string;
  channel_names: string[];
  dtype: string;
  max_value: number;
  height: number;
  width: number;
  pixel_size_um: number | null;
  n_levels: number;
  contrast: { low: number; high: number }[];
  /** Six hexadecimal digits per channel. */
  colours?: string[];
  wells: Record<string, { sites: number[]; perturbation_id: string | null; control_kind: string | null }>;
}

export interface PlanesDocument {
  planes: EncodedArray;
}
