import type { CollectorContext } from '../collector.js';
import { CatalogWatch as Watch, catalogSession, type CatalogQuestion as Question } from '../session/catalog-watch.js';
import type { PgConnection } from './connection.js';
import { LazySession } from './lazy-session.js';

/** A question about the catalogs of two PostgreSQL databases. */
export type CatalogQuestion = Question<PgConnection>;

/** Asks one question about two PostgreSQL catalogs, more rarely the more work it is. */
export class CatalogWatch extends Watch<PgConnection> {
  constructor(question: CatalogQuestion, context: CollectorContext) {
    const options = { applicationName: `lockgate/${context.daemonId}/${question.purpose}`, ...catalogSession };
    const [first, second] = question.databases;
    const sessions = [
      new LazySession(first, options, context.clock),
      new LazySession(second, options, context.clock),
    ] as const;
    super(question, sessions, context);
  }
}
