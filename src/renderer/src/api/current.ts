/** The api in use: set once at start, by tests with their own. */
import type { Api } from './api'

let current: Api | undefined

export function setApi(api: Api): void {
  current = api
}

export function useApi(): Api {
  if (!current) throw new Error('the api is used before it was set')
  return current
}
