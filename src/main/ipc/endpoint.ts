/** What every transport talks to: the manager of this process, or one in another process seen through its socket. */
import type { Manager, ManagerClient, Outcome } from '../services/manager'
import type { Emit } from '../services/session'

export type { Emit, ManagerClient, Outcome }
export type Endpoint = Pick<Manager, 'connect'>
