/** The channels' switches, colours and contrast; what is set here holds for all pictures. */
import type { PlateDocument } from "../data/contract";
import { count } from "../maths/numbers";
import { sliderEnd, usualSettings, type ChannelSetting, type ImageSettings } from "./settings";

interface Props {
  plate: PlateDocument;
  settings: ImageSettings;
  /** `isDone` is false while a slider moves. */
  onChange: (settings: ImageSettings, isDone: boolean) => void;
}

interface RowProps {
  name: string;
  setting: ChannelSetting;
  end: number;
  isGrey: boolean;
  isDimmed: boolean;
  onSetting: (change: Partial<ChannelSetting>, isDone: boolean) => void;
  onGrey: () => void;
}

function ContrastSlider({ name, which, setting, end, onSetting }: { which: "low" | "high" } & Pick<RowProps, "name" | "setting" | "end" | "onSetting">) {
  const changed = (value: number): Partial<ChannelSetting> =>
    which === "low" ? { low: Math.min(value, setting.high - 1) } : { high: Math.max(value, setting.low + 1) };
  return (
    <label class="contrast">
      <span>{which === "low" ? "Low" : "High"}</span>
      <input
        type="range"
        min={0}
        max={end}
        value={setting[which]}
        aria-label={`${name}: ${which === "low" ? "black below" : "brightest above"}`}
        onInput={(event) => onSetting(changed(Number(event.currentTarget.value)), false)}
        onChange={(event) => onSetting(changed(Number(event.currentTarget.value)), true)}
      />
      <span class="number">{count(setting[which])}</span>
    </label>
  );
}

function ChannelRow({ name, setting, end, isGrey, isDimmed, onSetting, onGrey }: RowProps) {
  return (
    <li class={isDimmed ? "channel dimmed" : "channel"}>
      <div class="channel-head">
        <label>
          <input type="checkbox" checked={setting.isOn} onChange={(event) => onSetting({ isOn: event.currentTarget.checked }, true)} />
          <span>{name}</span>
        </label>
        <input type="color" value={setting.colour} aria-label={`Colour of ${name}`} onChange={(event) => onSetting({ colour: event.currentTarget.value }, true)} />
        <button type="button" aria-pressed={isGrey} title={`Only ${name}, in grey`} onClick={onGrey}>Grey</button>
      </div>
      <ContrastSlider name={name} which="low" setting={setting} end={end} onSetting={onSetting} />
      <ContrastSlider name={name} which="high" setting={setting} end={end} onSetting={onSetting} />
    </li>
  );
}

export function Channels({ plate, settings, onChange }: Props) {
  const change = (channel: number, part: Partial<ChannelSetting>, isDone: boolean) => {
    const channels = settings.channels.map((setting, i) => (i === channel ? { ...setting, ...part } : setting));
    const grey = settings.grey === channel && part.isOn === false ? null : settings.grey;
    onChange({ channels, grey }, isDone);
  };
  return (
    <section class="channels" aria-label="Channels">
      <ul>
        {plate.channel_names.map((name, i) => (
          <ChannelRow
            key={name}
            name={name}
            setting={settings.channels[i]}
            end={sliderEnd(plate, i, settings.channels[i])}
            isGrey={settings.grey === i}
            isDimmed={settings.grey === null ? !settings.channels[i].isOn : settings.grey !== i}
            onSetting={(part, isDone) => change(i, part, isDone)}
            onGrey={() => onChange({ ...settings, grey: settings.grey === i ? null : i }, true)}
          />
        ))}
      </ul>
      <button type="button" onClick={() => onChange(usualSettings(plate), true)}>Reset channels</button>
    </section>
  );
}
