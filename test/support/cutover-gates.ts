/**
 * The gates of a cutover in tests: those of the runbook over any mechanism, with holds of seconds instead of minutes, so
 * that a test sees each open and close.
 */
export const cutoverGates = `    gates:
      replicated:
        require: [ forward.running is 1, "forward.lag < 2s for 2s", "forward.lag_by_position < 2s for 2s", forward.agreement is 1, forward.continuity is 1, forward.tables_uncovered is 0 ]
      flip-writes:
        require: [ "active.lag < 1500ms for 2s", "active.drain_eta_high < 5s", standby.stray_writes is 0, source.longest_transaction < 5s ]
      drained: { require: fence.drained is 1 }
      ramp: { require: [ "reverse.lag < 2s for 2s", split_brain is 0, standby.stray_writes is 0, target.writable is 1 ] }
      rollback-ready:
        require: [ source.reachable is 1, reverse.running is 1, "reverse.lag < 1500ms for 2s", "reverse.lag_by_position < 1500ms for 2s", reverse.agreement is 1, standby.stray_writes is 0, split_brain is 0 ]
`;
