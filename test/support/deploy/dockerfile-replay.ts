/**
 * Carries out a Dockerfile without a container engine: each stage is a root of its own above this machine's, which stands
 * in for the image that FROM names; COPY copies, RUN runs with that root. What an engine alone can show (the base image,
 * its layers, other platforms) this cannot.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DockerfileParser, JSONInstruction, type Copy, type From, type Instruction } from 'dockerfile-ast';
import { contextFiles } from './docker-context.js';
import { must, type Sandbox, type SandboxRoot } from './sandbox.js';

/** A stage after its last instruction, with what an engine would put into the image's configuration. */
export interface Stage {
  readonly name: string;
  readonly root: SandboxRoot;
  readonly env: Record<string, string>;
  cwd: string;
  user: string;
  entrypoint: readonly string[];
  command: readonly string[];
  healthcheck: readonly string[];
  readonly volumes: string[];
  readonly labels: Record<string, string>;
  stopSignal: string;
}

/** What to do otherwise than the file says. */
export interface ReplayOptions {
  /** Called with each RUN; another command to run in its place, with what stands for the same result. */
  readonly instead?: (run: string, stage: string) => string | null;
  /** Told of each instruction before it is carried out. */
  readonly say?: (text: string) => void;
}

/** Carries out all stages in the order of the file; resolves with the last one. Rejects at the first step that fails. */
export async function replay(file: string, context: string, box: Sandbox, options: ReplayOptions = {}): Promise<Stage> {
  const parsed = DockerfileParser.parse(readFileSync(file, 'utf8'));
  const files = contextFiles(context);
  const stages = new Map<string, Stage>();
  let stage: Stage | null = null;
  for (const instruction of parsed.getInstructions()) {
    const keyword = instruction.getKeyword();
    if (keyword === 'FROM') {
      const name = (instruction as From).getBuildStage() ?? String(stages.size);
      stage = await begin(name, box);
      stages.set(name, stage);
      continue;
    }
    // Before the first FROM: which image it is, and that is this machine.
    if (stage === null) continue;
    options.say?.(`${stage.name}: ${instruction.toString().slice(0, 100)}`);
    await step(stage, instruction, { context, files, stages, box, options });
  }
  if (stage === null) throw new RangeError(`${file} has no stage`);
  return stage;
}

interface Surroundings {
  readonly context: string;
  readonly files: readonly string[];
  readonly stages: ReadonlyMap<string, Stage>;
  readonly box: Sandbox;
  readonly options: ReplayOptions;
}

async function begin(name: string, box: Sandbox): Promise<Stage> {
  const root = await box.root(`stage-${name}`);
  const none = { entrypoint: [], command: [], healthcheck: [], volumes: [] as string[], labels: {} };
  return { name, root, env: {}, cwd: '/', user: '0:0', stopSignal: 'SIGTERM', ...none };
}

async function step(stage: Stage, instruction: Instruction, around: Surroundings): Promise<void> {
  const keyword = instruction.getKeyword();
  const words = instruction.getExpandedArguments().map((word) => word.getValue());
  const text = instruction.getArgumentsContent() ?? '';
  switch (keyword) {
    case 'WORKDIR':
      stage.cwd = absolute(stage, words[0] ?? '/');
      await must(around.box.shell('mkdir -p "$1"', [stage.root.path + stage.cwd]));
      return;
    case 'COPY':
      return copy(stage, instruction as Copy, words, around);
    case 'RUN': {
      const command = around.options.instead?.(text, stage.name) ?? text;
      await must(stage.root.run(['sh', '-c', command], { cwd: stage.cwd, env: stage.env })).catch((error: unknown) => {
        throw new Error(`RUN ${text}: ${String(error)}`, { cause: error });
      });
      return;
    }
    case 'ENV':
    case 'LABEL':
      Object.assign(keyword === 'ENV' ? stage.env : stage.labels, pairs(instruction));
      return;
    case 'ARG':
      return;
    case 'USER':
      stage.user = words[0] ?? '';
      return;
    case 'VOLUME':
      stage.volumes.push(...list(instruction));
      return;
    case 'EXPOSE':
      return;
    case 'STOPSIGNAL':
      stage.stopSignal = words[0] ?? '';
      return;
    case 'ENTRYPOINT':
      stage.entrypoint = list(instruction);
      return;
    case 'CMD':
      stage.command = list(instruction);
      return;
    case 'HEALTHCHECK':
      stage.healthcheck = JSON.parse(text.slice(text.indexOf('['))) as string[];
      return;
    default:
      throw new RangeError(`this replay does not know ${keyword}: what it does would go untested`);
  }
}

/** Copies files of the context, or of a stage before; only what engines do without options is known. */
async function copy(stage: Stage, instruction: Copy, words: readonly string[], around: Surroundings): Promise<void> {
  const from = instruction.getFromFlag()?.getValue() ?? null;
  const [to = '', ...sources] = [...words].reverse();
  const target = absolute(stage, to) + (to.endsWith('/') ? '/' : '');
  for (const source of sources.reverse()) {
    const path = from === null ? join(around.context, source) : stageOf(around, from).root.path + source;
    if (from === null && source !== '.') {
      const sent = around.files.filter((file) => file === source || file.startsWith(`${trim(source)}/`));
      if (sent.length === 0) throw new Error(`COPY ${source}: .dockerignore sends nothing of it to the engine`);
      const isFile = sent[0] === source;
      const into = stage.root.path + (isFile ? (target.endsWith('/') ? target + base(source) : target) : target);
      await must(
        isFile
          ? around.box.shell('mkdir -p "$(dirname "$2")"; cp "$1" "$2"', [path, into])
          : // Only what would be sent: a folder may hold more.
            around.box.shell(
              'mkdir -p "$2"; cd "$1"; shift; into=$1; shift; for f; do cp --parents "$f" "$into"; done',
              [path, into, ...sent.map((file) => file.slice(trim(source).length + 1))],
            ),
      );
    } else {
      // A folder's content goes into the folder that is named, which is made.
      const script = 'if [ -d "$1" ]; then mkdir -p "$2"; cp -a "$1/." "$2"; else cp -a "$1" "$2"; fi';
      await must(around.box.shell(script, [path, stage.root.path + target]));
    }
  }
}

function stageOf({ stages }: Surroundings, name: string): Stage {
  const found = stages.get(name);
  if (found === undefined) throw new RangeError(`COPY --from=${name}: there is no such stage before it`);
  return found;
}

function absolute(stage: Stage, path: string): string {
  return path.startsWith('/') ? trim(path) || '/' : trim(join(stage.cwd, path));
}

function trim(path: string): string {
  return path.replace(/\/+$/, '');
}

function base(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function list(instruction: Instruction): string[] {
  if (!(instruction instanceof JSONInstruction) || instruction.getOpeningBracket() === null) {
    throw new RangeError(
      `${instruction.getKeyword()} is not a JSON list: a shell in between would not pass on signals`,
    );
  }
  return JSON.parse(instruction.getArgumentsContent() ?? '[]') as string[];
}

function pairs(instruction: Instruction): Record<string, string> {
  const found = (instruction.getArgumentsContent() ?? '').matchAll(/([\w.]+)=("(?:[^"\\]|\\.)*"|\S+)/g);
  return Object.fromEntries([...found].map(([, name = '', value = '']) => [name, value.replace(/^"|"$/g, '')]));
}
