// Who may import whom. The reasons are the architecture's: observations flow one way, the core is pure, and engines are
// exchangeable because nobody but the composition root knows them.

/** Every folder of ours; rules about "own folder" must not bite on npm packages and Node's built-ins. */
const OURS = '^(daemon|collectors|alerts|deploy|test)/';
/** Files of types only, through which one part speaks to another. */
const PORTS = ['^daemon/http/port\\.ts$', '^daemon/store/store\\.ts$', '^collectors/collector\\.ts$'];

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'core-is-pure',
      comment: 'The core imports nothing but itself: no I/O, no packages, no Node built-ins.',
      severity: 'error',
      from: { path: '^daemon/core/' },
      to: { pathNot: '^daemon/core/' },
    },
    {
      name: 'collectors-keep-to-themselves',
      comment:
        'A collector imports the core, its own folder, the contract and the engine-neutral heartbeat; never another collector.',
      severity: 'error',
      from: { path: '^collectors/([^/]+)/' },
      to: {
        path: OURS,
        pathNot: [
          '^daemon/core/',
          '^collectors/$1/',
          '^collectors/collector\\.ts$',
          '^collectors/(heartbeat|session)/',
          '^collectors/verify/port\\.ts$',
        ],
      },
    },
    {
      name: 'contract-knows-only-the-core',
      severity: 'error',
      from: { path: '^collectors/collector\\.ts$' },
      to: {
        path: OURS,
        pathNot: ['^daemon/core/', '^collectors/heartbeat/hub\\.ts$', '^collectors/verify/port\\.ts$'],
      },
    },
    {
      name: 'alerts-know-only-the-core',
      comment: 'The alert queue goes through a port in the core.',
      severity: 'error',
      from: { path: '^alerts/' },
      to: { path: OURS, pathNot: ['^daemon/core/', '^alerts/'] },
    },
    {
      name: 'only-app-knows-them-all',
      comment: 'Collectors and alerts are built in the composition root; the process hands it the engines there are.',
      severity: 'error',
      from: { path: '^daemon/', pathNot: '^daemon/(app|main)\\.ts$' },
      to: { path: '^(collectors/[^/]+/|alerts/)', pathNot: '^collectors/verify/verifier\\.ts$' },
    },
    {
      name: 'app-is-the-root',
      comment: 'Only the process itself (and tests and the demo) may build the whole daemon.',
      severity: 'error',
      from: { path: '^(daemon|collectors|alerts)/', pathNot: '^daemon/main\\.ts$' },
      to: { path: '^daemon/(app|main)\\.ts$' },
    },
    {
      name: 'daemon-parts-meet-in-app',
      comment:
        'config, http, publish, store, lifecycle and cli know the core, the ports, themselves and the live model.',
      severity: 'error',
      from: { path: '^daemon/(config|http|publish|store|lifecycle|cli)/' },
      to: { path: OURS, pathNot: ['^daemon/core/', '^daemon/$1/', '^daemon/live/', ...PORTS] },
    },
    {
      name: 'only-people-see-the-live-model',
      comment:
        'The live model is for the status page and the terminal; the daemon itself has the truth and needs no copy.',
      severity: 'error',
      from: { path: '^(daemon|collectors|alerts)/', pathNot: '^daemon/(live|cli|http/page)/' },
      to: { path: '^daemon/live/' },
    },
    {
      name: 'live-runs-anywhere',
      comment:
        'What the status page and the terminal know of a daemon is the same code, in browsers too: the core and the shape of the API, no Node and no packages.',
      severity: 'error',
      from: { path: '^daemon/live/' },
      to: { pathNot: ['^daemon/core/', '^daemon/live/', '^daemon/http/port\\.ts$'] },
    },
    {
      name: 'main-starts-and-nothing-else',
      comment:
        'The process knows the command line, the root, the clock, and by name the engines and services it hands to the root.',
      severity: 'error',
      from: { path: '^daemon/main\\.ts$' },
      to: {
        path: OURS,
        pathNot: [
          '^daemon/(app\\.ts$|cli/|lifecycle/|core/)',
          '^collectors/([^/]+/(engine|service)|session/lazy-aws)\\.ts$',
        ],
      },
    },
    {
      name: 'no-circles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-barrels',
      comment: 'A file is imported by the name of the concept it holds; re-exporting index files hide that.',
      severity: 'error',
      from: {},
      to: { path: '/index\\.ts$', pathNot: 'node_modules' },
    },
    {
      name: 'no-orphans',
      comment: 'A module that nothing imports and that imports nothing is dead.',
      severity: 'error',
      from: { orphan: true, pathNot: ['\\.d\\.ts$'] },
      to: {},
    },
    {
      name: 'production-never-imports-tests',
      severity: 'error',
      from: { path: '^(daemon|collectors|alerts)/' },
      to: { path: '^(test|deploy)/' },
    },
    {
      name: 'production-has-its-dependencies',
      comment:
        'What ships must be listed under dependencies; development packages are not installed with it. The page in the browser ships as one bundled file, with what it imports inside.',
      severity: 'error',
      from: { path: '^(daemon|collectors|alerts)/', pathNot: '^daemon/http/page/client/' },
      to: {
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'npm-optional'],
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      mainFields: ['module', 'main', 'types'],
    },
  },
};
