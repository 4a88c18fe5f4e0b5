// The dashboard: what keeps it up to date, and its chart, which shows how many tasks ended in each hour, stacked by
// outcome.
import uPlot from "uplot";
import { renew } from "./live/renew";
import { formatNumber, gettext, language } from "./messages";

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const HEIGHT = 220;
const hour = new Intl.DateTimeFormat(language, { timeStyle: "short" });

/** The chart of one element, by what its `data-chart` says. */
class Chart {
  private parts: number[][] = [];
  private readonly plot: uPlot;
  private readonly observer: ResizeObserver;
  private drawn: string;

  constructor(readonly root: HTMLElement) {
    this.drawn = this.text;
    const inside = root.querySelector<HTMLElement>("[data-keep]") ?? root;
    this.plot = new uPlot(this.options(), this.read(), inside);
    this.observer = new ResizeObserver(() => this.plot.setSize({ width: root.clientWidth, height: HEIGHT }));
    this.observer.observe(root);
  }

  private get text(): string {
    return this.root.dataset.chart ?? "[[]]";
  }

  /** What the element says by now. */
  update(): void {
    if (this.text === this.drawn) return;
    this.drawn = this.text;
    this.plot.setData(this.read());
  }

  end(): void {
    this.observer.disconnect();
    this.plot.destroy();
  }

  /** Each part stands on those after it: drawn from the tallest to the lowest. */
  private read(): uPlot.AlignedData {
    const [times = [], ...parts] = JSON.parse(this.drawn) as number[][];
    this.parts = parts;
    return [
      times,
      ...parts.map((_, index) =>
        times.map((_time, at) => parts.slice(index).reduce((sum, part) => sum + (part[at] ?? 0), 0)),
      ),
    ];
  }

  private options(): uPlot.Options {
    const names: string[] = JSON.parse(this.root.dataset.names ?? "[]");
    const colours = [colour("--x-ok-dot"), colour("--x-bad-dot"), colour("--x-warn-dot")];
    const bars = uPlot.paths.bars?.({ size: [0.7, 48], radius: 0.1 });
    const text = colour("--tblr-secondary-color");
    const grid = { stroke: colour("--tblr-border-color-translucent"), width: 1 };
    const axis = { stroke: text, grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width: this.root.clientWidth,
      height: HEIGHT,
      padding: [12, 24, 0, 0],
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: (_chart, min, max) => [min - 2400, max + 2400] },
        y: { range: (_c, _min, max) => [0, Math.max(4, max * 1.1)] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          space: 72,
          values: (_chart, ticks) => ticks.map((tick) => hour.format(tick * 1000)),
        },
        {
          ...axis,
          size: 52,
          values: (_chart, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? formatNumber(tick) : "")),
        },
      ],
      series: [
        {
          value: (_chart, value) => (value === null ? "–" : hour.format(value * 1000)),
          label: gettext("Hour"),
        },
        ...names.map((label, index) => ({
          label,
          fill: colours[index] ?? text,
          width: 0,
          points: { show: false },
          ...(bars ? { paths: bars } : {}),
          value: (_chart: uPlot, _value: number, _series: number, at: number | null) =>
            formatNumber(
              at === null
                ? (this.parts[index]?.reduce((sum, number) => sum + number, 0) ?? 0)
                : (this.parts[index]?.[at] ?? 0),
            ),
        })),
      ],
    };
  }
}

let chart: Chart | null = null;

/** The chart comes with the first task that ends, and goes when none has for a day. */
function show(): void {
  const root = document.getElementById("chart");
  if (chart?.root !== root) {
    chart?.end();
    chart = root && new Chart(root);
  }
  chart?.update();
}

show();
const now = document.getElementById("now");
if (now) renew(now, show);
