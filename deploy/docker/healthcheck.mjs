// Is this container's daemon alive? Asks its own /livez, which depends on no database and on no gate; exits 0 or 1.
import http from 'node:http';
import https from 'node:https';

/** Where the daemon listens, as seen from within the container. */
const url = new URL(process.env.LOCKGATE_HEALTH_URL ?? 'http://127.0.0.1:9188/livez');
const timeoutMs = 4_000;

const end = (why) => {
  if (why !== null) process.stderr.write(`${url.href}: ${why}\n`);
  process.exit(why === null ? 0 : 1);
};
// Its certificate is made out for another name, and who answers on this container's loopback is no secret.
const options = { rejectUnauthorized: false, headers: { connection: 'close' } };
const request = (url.protocol === 'https:' ? https : http).get(url, options, (response) => {
  response.resume();
  end(response.statusCode === 200 ? null : `status ${String(response.statusCode)}`);
});
request.on('error', (error) => end(error.message));
setTimeout(() => end(`no answer within ${String(timeoutMs)} ms`), timeoutMs);
