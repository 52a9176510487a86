// `npm run deploy:generate`: writes the files of deploy/ that lockgate itself prints.
import { writeGenerated } from './generated.js';

await writeGenerated();
