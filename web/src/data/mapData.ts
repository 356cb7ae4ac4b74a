/** One map: its index, names and lookups, and the blocks that are loaded when a row of theirs is asked for. */
import { decodeArray } from "./arrays";
import type {
  HomeMap, IndexDocument, NeighbourRow, NeighboursDocument, PerturbationKind, ProfileRow, ProfilesDocument, SetsDocument, VectorsDocument,
} from "./contract";
import { loadDocument, pathOf } from "./loader";
import { concentrationText } from "../maths/numbers";

export class MapData {
  readonly n: number;
  readonly x: Float32Array | null;
  readonly y: Float32Array | null;
  readonly labels: string[];
  private readonly rowOfId: Map<string, number>;
  private readonly rowsOfName = new Map<string, number[]>();

  constructor(
    readonly home: HomeMap,
    readonly index: IndexDocument,
  ) {
    this.n = index.n_rows;
    this.x = index.x ? Float32Array.from(decodeArray(index.x).data) : null;
    this.y = index.y ? Float32Array.from(decodeArray(index.y).data) : null;
    this.rowOfId = new Map(index.perturbation_id.map((id, row) => [id, row]));
    for (let row = 0; row < this.n; row++) {
      for (const name of new Set([index.perturbation_id[row], index.gene_symbol[row], index.compound_id[row]])) {
        if (name) this.addName(name.toUpperCase(), row);
      }
    }
    this.labels = index.perturbation_id.map((_, row) => this.labelOf(row));
  }

  private addName(name: string, row: number): void {
    const rows = this.rowsOfName.get(name);
    if (rows) rows.push(row);
    else this.rowsOfName.set(name, [row]);
  }

  private labelOf(row: number): string {
    const { gene_symbol, compound_id, concentration_um, perturbation_id, guide_id } = this.index;
    const name = gene_symbol[row] ?? compound_id[row];
    if (!name) return perturbation_id[row];
    const dose = concentration_um[row];
    if (dose !== null && dose !== undefined) return `${name} ${concentrationText(dose)}`;
    const isOne = (this.rowsOfName.get(name.toUpperCase())?.length ?? 1) === 1;
    if (isOne) return name;
    return guide_id[row] ? `${name} · ${guide_id[row]}` : perturbation_id[row];
  }

  get key(): string {
    return `${this.index.dataset_id}/${this.index.model_key}`;
  }

  /** How many rows have a place in the plane. */
  get nPlaced(): number {
    return this.x && this.y ? this.x.reduce((sum, value) => sum + (Number.isFinite(value) ? 1 : 0), 0) : 0;
  }

  get hasLayout(): boolean {
    return this.nPlaced > 0;
  }

  id(row: number): string {
    return this.index.perturbation_id[row];
  }

  kind(row: number): PerturbationKind | null {
    return this.index.control_kind[row] ? "control" : this.index.perturbation_kind[row];
  }

  rowOf(id: string): number | null {
    return this.rowOfId.get(id) ?? null;
  }

  /** Returns all rows whose perturbation id, gene symbol or compound id is the name, in any case. */
  rowsNamed(name: string): number[] {
    return this.rowsOfName.get(name.trim().toUpperCase()) ?? [];
  }

  /** What counts as one thing in enrichment: guides of a gene, or doses of a compound, count once. */
  entity(row: number): string {
    return this.index.gene_symbol[row] ?? this.index.compound_id[row] ?? this.index.perturbation_id[row];
  }

  private block<T>(kind: "neighbours" | "profiles" | "vectors", row: number): Promise<T> {
    const { dataset_id, model_key, block_rows } = this.index;
    return loadDocument<T>(pathOf("maps", dataset_id, model_key, kind, Math.floor(row / block_rows[kind])));
  }

  async neighbours(row: number): Promise<NeighbourRow> {
    const block = await this.block<NeighboursDocument>("neighbours", row);
    return block.rows[row - block.first_row];
  }

  async profile(row: number): Promise<ProfileRow> {
    const block = await this.block<ProfilesDocument>("profiles", row);
    return block.rows[row - block.first_row];
  }

  sets(): Promise<SetsDocument> {
    return loadDocument<SetsDocument>(pathOf("maps", this.index.dataset_id, this.index.model_key, "sets"));
  }

  /** Returns the unit vectors of rows, in the given order; tells its progress as blocks arrive. */
  async vectors(rows: number[], onProgress: (done: number, all: number) => void = () => {}): Promise<Float32Array[]> {
    const size = this.index.block_rows.vectors;
    const blocks = [...new Set(rows.map((row) => Math.floor(row / size)))];
    const decoded = new Map<number, { first: number; width: number; data: Float32Array }>();
    let done = 0;
    await Promise.all(
      blocks.map(async (block) => {
        const document = await this.block<VectorsDocument>("vectors", block * size);
        const { shape, data } = decodeArray(document.unit);
        decoded.set(block, { first: document.first_row, width: shape[1], data: data as Float32Array });
        onProgress(++done, blocks.length);
      }),
    );
    return rows.map((row) => {
      const { first, width, data } = decoded.get(Math.floor(row / size))!;
      return data.subarray((row - first) * width, (row - first + 1) * width);
    });
  }
}

/** Asks for the index of the map that the address names before the list of maps has come. */
export function foresee(dataset: string | null, model: string | null): void {
  if (dataset && model) loadDocument(pathOf("maps", dataset, model, "index")).catch(() => {});
}

const maps = new Map<string, Promise<MapData>>();

/** Returns the map that home.json lists; the same object each time. */
export function loadMap(home: HomeMap): Promise<MapData> {
  const key = `${home.dataset_id}/${home.model_key}`;
  const known = maps.get(key);
  if (known) return known;
  const loading = loadDocument<IndexDocument>(pathOf("maps", home.dataset_id, home.model_key, "index")).then((index) => new MapData(home, index));
  maps.set(key, loading);
  loading.catch(() => maps.delete(key));
  return loading;
}
