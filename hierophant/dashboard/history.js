// Jobs that have ended: durations, cycles, success rate and cost.

import { html, useState } from './vendor/preact.js';
import { count, duration, many, money, percent } from './format.js';
import { Choice, MODES, Tile, useKnown } from './parts.js';
import { Dots, SECONDS } from './charts.js';
import { EndedTable, success } from './overview.js';

const STATES = [['', 'any'], ['proved', 'proved'], ['bad', 'not proved'], ['failed', 'failed'], ['unexecutable', 'unexecutable'], ['cancelled', 'cancelled'], ['expired', 'expired']];

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor((numbers.length - 1) / 2)];

export function History() {
  const { ended, overview } = useKnown();
  const [mode, setMode] = useState('');
  const [state, setState] = useState('');
  const all = (ended ?? []).filter((job) => mode === '' || job.mode === mode);
  const shown = all.filter((job) => state === '' || (state === 'bad' ? job.state !== 'proved' : job.state === state));
  const proved = all.filter((job) => job.state === 'proved' && job.seconds != null);
  const rate = success(all);
  const seconds = proved.reduce((sum, job) => sum + job.seconds, 0);
  const price = overview.price;
  const points = (value) => proved.filter((job) => value(job) > 0).map((job) => ({ at: job.finishedAt, value: value(job), kind: job.mode, id: job.id }));
  if (ended === null) return html`<p class="loading">Loading the history…</p>`;
  return html`
    <section><header><h1>History</h1><span class="dim">latest ${many(all.length, 'job')} that ended</span></header>
      <div class="filters">
        <${Choice} name="Kind" value=${mode} choose=${setMode} options=${MODES} />
        <${Choice} name="State" value=${state} choose=${setState} options=${STATES} /></div>
      <dl class="tiles">
        <${Tile} name="Success" value=${percent(rate.rate)} more=${`${count(rate.proved)} of ${count(rate.of)}, without cancelled jobs`} />
        <${Tile} name="Median time" value=${proved.length ? duration(median(proved.map((job) => job.seconds))) : '–'} more="from lease to accepted proof" />
        <${Tile} name="Cycles" value=${count(proved.reduce((sum, job) => sum + (job.cycles ?? 0), 0))} more="proved" />
        ${price && html`<${Tile} name="Cost" value=${money((seconds / 3600) * price.per_hour, price.currency)}
          more=${proved.length ? `${money((seconds / 3600) * price.per_hour / proved.length, price.currency)} a proof; ${duration(seconds)} of worker time` : 'of worker time'} />`}
      </dl>
      <div class="charts">
        <${Dots} title="Time of each proof" points=${points((job) => job.seconds)} show=${duration} steps=${SECONDS} />
        <${Dots} title="Cycles of each proof" points=${points((job) => job.cycles)} show=${count} />
      </div>
      <${EndedTable} jobs=${shown} /></section>`;
}
