/** The part of a migration's dashboard for the night of the flip: backlog, drain and the fence. */
import { RowBuilder, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { byLink, COLOUR, coloured, dashed, FENCE_WORDS, greyed, lines, stat, timeline } from './look.js';
import { fence, fresh, ofMigration, unknownSignals, worstSignals } from './promql.js';

/** Adds the row. */
export function addBacklog(builder: DashboardBuilder): void {
  builder
    .withRow(new RowBuilder('Backlog and drain'))
    .withPanel(
      byLink(
        lines(
          {
            title: 'Backlog',
            about:
              'What the source has and the target has not, in bytes. A gap: unknown. Bytes are no measure of time.',
            width: 6,
            height: 8,
          },
          [
            {
              expr: `max by (link) (${fresh(ofMigration('lockgate_backlog_bytes', 'link=~"$link"'))})`,
              legend: '{{link}}',
            },
          ],
          { unit: 'bytes' },
        ),
      ),
    )
    .withPanel(
      byLink(
        lines(
          {
            title: 'Time to drain',
            about:
              'How long the backlog would take if writes stopped now, and its upper 95 % bound (dashed). A gap: it cannot be predicted.',
            width: 6,
            height: 8,
          },
          [
            { expr: worstSignals('($link).drain_eta'), legend: '{{signal}}' },
            { expr: worstSignals('($link).drain_eta_high'), legend: '{{signal}}', id: 'high' },
          ],
          { unit: 's' },
        ),
      ).overrideByQuery('high', [dashed([2, 4])]),
    )
    .withPanel(
      byLink(
        lines(
          {
            title: 'Log kept for the link',
            about: 'WAL or binlog that the source keeps because this link has not taken it yet.',
            width: 6,
            height: 8,
          },
          [{ expr: worstSignals('($link).retained_bytes'), legend: '{{signal}}' }],
          { unit: 'bytes' },
        ),
      ),
    )
    .withPanel(
      greyed(
        byLink(
          lines(
            {
              title: 'Runway',
              about:
                'Until the source drops what was not carried over, at the present rate. Short means: act. Grey: nothing is known of it, which does not mean that there is time.',
              width: 6,
              height: 8,
            },
            [
              { expr: worstSignals('($link).runway', 'min'), legend: '{{signal}}' },
              { expr: unknownSignals('($link).runway'), legend: '{{signal}} unknown', id: 'unknown' },
            ],
            { unit: 's' },
          ),
        ),
        'unknown',
      ),
    )
    .withPanel(
      timeline(
        {
          title: 'Fence',
          about:
            'The newest fence. DRAINED: the target has everything that the source had. VIOLATED: writes had not stopped. Empty: there has been none.',
          width: 12,
          height: 5,
        },
        [{ expr: fence(), legend: 'fence' }],
        FENCE_WORDS,
      ).noValue('no fence yet'),
    )
    .withPanel(
      stat(
        {
          title: 'Drained in',
          about: 'From the placing of the newest fence to its drain; empty until it has drained.',
          width: 4,
          height: 5,
        },
        [{ expr: `max(${fresh(ofMigration('lockgate_fence_drain_seconds'))})` }],
        { unit: 's', empty: 'not drained' },
      ),
    )
    .withPanel(
      stat(
        {
          title: 'Writes after the fence',
          about: 'On the side that ought to be silent. Any: the fence is violated.',
          width: 4,
          height: 5,
        },
        [{ expr: `max(${fresh(ofMigration('lockgate_fence_violations'))})` }],
        { bad: 1, empty: 'no fence yet' },
      ),
    )
    .withPanel(
      stat(
        {
          title: 'Drains as foretold',
          about:
            'Fences since the start of the daemon, by whether the upper bound of the prediction held (true) or not (false).',
          width: 4,
          height: 5,
        },
        [{ expr: `sum by (held) (${ofMigration('lockgate_drain_predictions_total')})`, legend: '{{held}}' }],
        { empty: 'none yet' },
      ).overrideByName('false', [coloured(COLOUR.bad)]),
    );
}
