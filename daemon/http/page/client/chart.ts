/** Lag over the last minutes, of both directions, with what the gate asks of it. Time without an observation is a gap. */
import uPlot from 'uplot';
import type { LagBound, LagSeries } from './lag-series.js';

/** Below this a logarithm says nothing that a person needs. */
const FLOOR_S = 0.001;
const HEIGHT = 260;
/** As uPlot spells it. */
// eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- the enum exists in uPlot's types alone
const LOGARITHMIC = 3 as uPlot.Scale.Distr;

/** A chart in an element; it fits the element's width and the page's colours. */
export class LagChart {
  #plot: uPlot | null = null;
  #bound: LagBound | null = null;
  #look = '';
  readonly #resized: ResizeObserver;

  constructor(private readonly host: HTMLElement) {
    this.#resized = new ResizeObserver(() => this.#plot?.setSize({ width: host.clientWidth, height: HEIGHT }));
    this.#resized.observe(host);
  }

  /** Draws; `look` names the colours in force, so that the chart is made anew when they change. */
  draw(series: LagSeries, bound: LagBound | null, look: string): void {
    this.#bound = bound;
    const floor = (values: (number | null)[]): (number | null)[] =>
      values.map((v) => (v === null ? null : Math.max(v, FLOOR_S)));
    const data: uPlot.AlignedData = [series.at, floor(series.forward), floor(series.reverse)];
    if (this.#plot === null || this.#look !== look) {
      this.#plot?.destroy();
      this.#look = look;
      this.#plot = new uPlot(this.#options(), data, this.host);
    } else this.#plot.setData(data);
  }

  /** Lets go of the element. */
  destroy(): void {
    this.#resized.disconnect();
    this.#plot?.destroy();
  }

  #options(): uPlot.Options {
    const style = getComputedStyle(this.host);
    const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
    const [ink, soft, line, held] = [colour('ink'), colour('soft'), colour('line'), colour('open-ground')];
    const axis = {
      stroke: soft,
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1 },
      font: `13px ${style.fontFamily}`,
    };
    return {
      width: this.host.clientWidth,
      height: HEIGHT,
      cursor: { y: false, points: { size: 7 } },
      legend: { show: false },
      scales: {
        x: { time: true },
        y: { distr: LOGARITHMIC, range: (_plot, _low, high) => this.#range(high) },
      },
      axes: [
        {
          ...axis,
          values: (_plot, ticks) => ticks.map((t) => new Date(t * 1000).toISOString().slice(11, 19)),
          space: 90,
        },
        {
          ...axis,
          size: 64,
          filter: decadesOnly,
          grid: { ...axis.grid, filter: decadesOnly },
          ticks: { ...axis.ticks, filter: decadesOnly },
          values: (_plot, ticks) => ticks.map((t) => decade(t)),
        },
      ],
      series: [
        {},
        { label: 'forward', stroke: colour('forward'), width: 2.25, points: { show: false } },
        { label: 'reverse', stroke: colour('reverse'), width: 2.25, dash: [7, 4], points: { show: false } },
      ],
      hooks: { drawClear: [(plot) => this.#shade(plot, held)], draw: [(plot) => this.#threshold(plot, ink)] },
    };
  }

  #range(high: number | null): [number, number] {
    const top = Math.max(high ?? 0, this.#bound?.seconds ?? 0, 0.1) * 2;
    return [FLOOR_S, 10 ** Math.ceil(Math.log10(top))];
  }

  /** The stretch that counts towards the hold. */
  #shade(plot: uPlot, colour: string): void {
    const since = this.#bound?.heldSince ?? null;
    const last = plot.data[0].at(-1);
    if (since === null || last === undefined || this.#bound === null) return;
    const { left, top, width, height } = plot.bbox;
    const from = Math.max(left, plot.valToPos(since, 'x', true));
    const y = Math.max(top, plot.valToPos(this.#bound.seconds, 'y', true));
    plot.ctx.fillStyle = colour;
    plot.ctx.fillRect(
      from,
      y,
      Math.max(0, Math.min(left + width, plot.valToPos(last, 'x', true)) - from),
      top + height - y,
    );
  }

  #threshold(plot: uPlot, colour: string): void {
    if (this.#bound === null) return;
    const { left, width } = plot.bbox;
    const { ctx } = plot;
    const y = plot.valToPos(this.#bound.seconds, 'y', true);
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.fillStyle = colour;
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash([2 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(left, y);
    ctx.lineTo(left + width, y);
    ctx.stroke();
    ctx.font = `600 ${13 * ratio}px ${getComputedStyle(this.host).fontFamily}`;
    ctx.textAlign = 'left';
    ctx.fillText(this.#bound.text, left + 6 * ratio, y - 6 * ratio);
    ctx.restore();
  }
}

/** Only whole decades are drawn and named: 1 ms, 10 ms … 10 s. */
function decadesOnly(_plot: uPlot, ticks: number[]): (number | null)[] {
  return ticks.map((t) => (Math.abs(Math.log10(t) - Math.round(Math.log10(t))) < 1e-6 ? t : null));
}

function decade(seconds: number | null): string {
  if (seconds === null) return '';
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${Math.round(seconds)} s`;
}
