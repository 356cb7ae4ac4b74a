/** How channels are shown: on or off, colour, contrast, or one channel in grey; and the same as text for the address. */
import type { PlateDocument } from "../data/contract";

export interface ChannelSetting {
  isOn: boolean;
  colour: string;
  low: number;
  high: number;
}

export interface ImageSettings {
  channels: ChannelSetting[];
  /** The channel that is shown alone in grey, or null for the composite. */
  grey: number | null;
}

const COLOURS = ["#4f7dff", "#37d67a", "#ff4fa3", "#ffc83d", "#2fd9e8", "#ff7a45", "#b388ff", "#c6e048"];
const N_ON = 6;

/** Returns the plate's usual settings: the contrast of its controls, the first channels on. */
export function usualSettings(plate: PlateDocument): ImageSettings {
  const channels = plate.channel_names.map((_, i) => ({
    isOn: i < N_ON,
    colour: plate.colours?.[i] ? `#${plate.colours[i].toLowerCase()}` : COLOURS[i % COLOURS.length],
    low: plate.contrast[i]?.low ?? 0,
    high: plate.contrast[i]?.high ?? plate.max_value,
  }));
  return { channels, grey: null };
}

/** Returns the settings as text: `on.colour.low.high` per channel, joined by `_`, and `~2` for channel 2 in grey. */
export function formatSettings({ channels, grey }: ImageSettings): string {
  const parts = channels.map(({ isOn, colour, low, high }) => [isOn ? 1 : 0, colour.slice(1), Math.round(low), Math.round(high)].join("."));
  return parts.join("_") + (grey === null ? "" : `~${grey}`);
}

/** Returns the settings that a text gives; the usual ones where it does not fit the plate. */
export function parseSettings(text: string | null, plate: PlateDocument): ImageSettings {
  const usual = usualSettings(plate);
  if (!text) return usual;
  const [list, grey] = text.split("~");
  const parts = list.split("_").map((part) => /^([01])\.([0-9a-f]{6})\.(\d+)\.(\d+)$/.exec(part));
  if (parts.length !== usual.channels.length || parts.some((part) => part === null)) return usual;
  const channels = parts.map((part) => ({ isOn: part![1] === "1", colour: `#${part![2]}`, low: Number(part![3]), high: Number(part![4]) }));
  const alone = grey === undefined ? null : Number(grey);
  return { channels, grey: alone !== null && alone < channels.length ? alone : null };
}

/** Returns the end of a channel's sliders: well above its usual contrast, so that a step stays fine. */
export function sliderEnd(plate: PlateDocument, channel: number, setting: ChannelSetting): number {
  return Math.min(plate.max_value, Math.max(16, Math.ceil((plate.contrast[channel]?.high ?? plate.max_value) * 3), setting.high));
}
