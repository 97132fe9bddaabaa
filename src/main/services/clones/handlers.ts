/** Calls for machines made from others, and machines that travel. */
import type { CallName } from '../../../preload/contract'
import { ServiceError } from '../errors'
import type { Handlers } from '../handlers'

export type TransferCall = 'machine.clone' | 'machine.fork' | 'machine.export' | 'machine.import'
type Call = TransferCall | Extract<CallName, `template.${string}`>

/** The contract comes first; what stands behind each call follows. */
export function transferHandlers(): Pick<Handlers, Call> {
  const later = (): never => {
    throw new ServiceError('unsupported', 'This version cannot do it yet.')
  }
  return {
    'machine.clone': later, 'machine.fork': later, 'machine.export': later, 'machine.import': later,
    'template.list': () => [], 'template.create': later, 'template.release': later, 'template.delete': later,
  }
}
