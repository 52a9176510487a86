/** What names a DMS task or a serverless replication. */
export interface DmsArn {
  kind: 'task' | 'replication-config';
  region: string;
  account: string;
  /** The last part: the task's name among CloudWatch's dimensions and in DMS's control tables. */
  id: string;
}

/** Reads `arn:aws:dms:eu-west-1:123456789012:task:ABC`; null when it names neither a task nor a serverless replication. */
export function parseDmsArn(text: string): DmsArn | null {
  const found = /^arn:aws[a-z-]*:dms:([a-z0-9-]+):(\d+):(task|replication-config):([A-Za-z0-9-]+)$/.exec(text);
  if (found === null) return null;
  const [, region = '', account = '', kind, id = ''] = found;
  return { kind: kind === 'task' ? 'task' : 'replication-config', region, account, id };
}
