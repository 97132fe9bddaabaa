/** Where everything of a user is. */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/** `NESTBOX_HOME`, else `~/Nestbox`. */
export function defaultHome(env: NodeJS.ProcessEnv = process.env): string {
  return env.NESTBOX_HOME ? resolve(env.NESTBOX_HOME) : join(homedir(), 'Nestbox')
}

/** Translated code that all machines of the user share. */
export const translationsFolder = (home: string): string => join(home, 'cache', 'translations')
