/** A dialog to select perturbations by typing or pasting their names. */
import { useRef, useState } from "preact/hooks";
import type { MapData } from "../data/mapData";
import { selectRows } from "../map/MapView";
import { counted } from "../maths/numbers";
import { rowsOfList } from "../maths/search";

function found(map: MapData, text: string): string {
  if (!text.trim()) return "Genes, compounds or perturbation ids, separated by commas or new lines.";
  const { rows, unknown } = rowsOfList(map, text);
  const missing = unknown.length ? ` Not in this map: ${unknown.slice(0, 8).join(", ")}${unknown.length > 8 ? ` and ${unknown.length - 8} more` : ""}.` : "";
  return `${counted(rows.length, "perturbation")} found.${missing}`;
}

export function PasteSelection({ map, selected }: { map: MapData; selected: number[] }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState("");
  const open = () => {
    setText(selected.map((row) => map.id(row)).join("\n"));
    dialog.current?.showModal();
  };
  const apply = (event: Event) => {
    event.preventDefault();
    const { rows } = rowsOfList(map, text);
    dialog.current?.close();
    selectRows(map, rows);
  };
  return (
    <>
      <button type="button" onClick={open}>Paste names</button>
      <dialog ref={dialog} aria-labelledby="paste-title">
        <form onSubmit={apply}>
          <h2 id="paste-title">Select by name</h2>
          <textarea aria-label="Names" aria-describedby="paste-found" rows={8} value={text} spellcheck={false} onInput={(event) => setText(event.currentTarget.value)} />
          <p id="paste-found" class="soft small" aria-live="polite">{found(map, text)}</p>
          <div class="buttons">
            <button type="submit" class="primary">Select</button>
            <button type="button" onClick={() => dialog.current?.close()}>Cancel</button>
          </div>
        </form>
      </dialog>
    </>
  );
}
