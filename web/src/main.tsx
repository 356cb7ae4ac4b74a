/** Starts the explorer in the page's #app element. */
import { render } from "preact";
import { App } from "./App";
import { parseAddress } from "./data/address";
import { foresee } from "./data/mapData";
import { applyTheme } from "./parts/theme";
import "./style/base.css";
import "./style/layout.css";
import "./style/controls.css";
import "./style/panels.css";
import "./style/map.css";
import "./style/images.css";
import "./style/heatmap.css";
import "./style/beside.css";

applyTheme();
const { dataset, model } = parseAddress(location.hash);
foresee(dataset, model);
const root = document.getElementById("app");
if (root) {
  root.textContent = "";
  render(<App />, root);
}
