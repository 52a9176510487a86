#!/usr/bin/env node
/** `npm run dashboards`: writes the dashboards anew. */
import { writeFileSync } from 'node:fs';
import { dashboardFiles } from './dashboards.js';

for (const [name, text] of dashboardFiles()) writeFileSync(new URL(`dashboards/${name}`, import.meta.url), text);
