import tseslint from 'typescript-eslint';

const noClock = [
  { object: 'Date', property: 'now', message: 'Use the injected Clock.' },
  { object: 'performance', property: 'now', message: 'Use the injected Clock.' },
];

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'node_modules/', '.cache/', '.servers/', 'test/artifacts/'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: {
          allowDefaultProject: [
            'eslint.config.js',
            '.dependency-cruiser.cjs',
            '.ci/results.mjs',
            'deploy/docker/*.mjs',
          ],
        },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/unified-signatures': 'off',
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  {
    files: ['daemon/**/*.ts', 'collectors/**/*.ts', 'alerts/**/*.ts'],
    // In the browser the page's own clock is what the injected one is here.
    ignores: ['daemon/lifecycle/**', 'daemon/main.ts', 'daemon/http/page/client/clock.ts'],
    rules: {
      'no-restricted-properties': ['error', ...noClock],
      'no-restricted-globals': [
        'error',
        { name: 'setInterval', message: 'Use the injected Clock.sleep in a loop.' },
        { name: 'process', message: 'Only daemon/main.ts touches the process.' },
      ],
    },
  },
  {
    files: ['test/**/*.ts', 'deploy/**/*.ts'],
    rules: { 'no-console': 'off', '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  {
    // The builder calls the classic schema deprecated in favour of one that older Grafanas do not read; this one is still read.
    files: ['deploy/grafana/**/*.ts'],
    rules: { '@typescript-eslint/no-deprecated': 'off' },
  },
  // JavaScript as it is: configuration, CI, and what goes into the image without being compiled.
  {
    files: ['*.js', '*.cjs', '.ci/*.mjs', 'deploy/docker/*.mjs'],
    ...tseslint.configs.disableTypeChecked,
    rules: { ...tseslint.configs.disableTypeChecked.rules, 'no-console': 'off' },
  },
);
