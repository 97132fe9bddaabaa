/** The version of this Nestbox. */
import manifest from '../../../package.json'

export const VERSION: string = manifest.version
