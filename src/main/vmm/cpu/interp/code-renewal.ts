/**
 * Code that a program goes on with after a load of CR3: mostly it stands where it stood. The code lookup keeps what it had as lapsed;
 * here the page tables are walked for a fetch, and where they lead to the same page the entry counts again. Intel SDM vol. 3, 4.6.1
 * and 4.10.4. Whatever is not so is left to TypeScript (`core/code-finder.ts`) before anything is changed.
 */
import { CODE_LAPSED, CodeTlbEntry } from '../../mmu/tlb-layout'
import { A, CR4_PGE, G, NX, US } from '../../mmu/paging-bits'
import type { Node } from '../emit/wasm/function'
import { FIELDS, offsetOf } from '../state/layout'
import { lookupEntry } from './glue'
import { WalkEmitter } from './page-walk'

const RENEWED = 1

class RenewalEmitter extends WalkEmitter {
  constructor() {
    super(['i32', 'i32', 'i32'])
  }

  protected missing(condition: Node): void {
    this.giveUpIf(condition)
  }

  protected override refused(): Node {
    return this.op('or', super.refused(), NX)
  }

  build(): Uint8Array {
    const { f } = this
    const kind = this.field('walkKind')
    this.giveUpIf(this.op('eqz', kind))
    this.giveUpUnless(this.op('eq', this.field('cpl'), 3))
    const count = this.field('renewals')
    this.giveUpUnless(this.op('lt_u', count, FIELDS.renewed.count))
    const page = f.pure('i64.and', 'i64', [this.linear(kind), f.i64(-4096n)])
    // Its lapsed tag would be that of an empty entry.
    this.giveUpIf(f.pure('i64.eqz', 'i32', [page]))
    const entry = lookupEntry(f, this.cpu, page)
    const lapsed = f.pure('i64.or', 'i64', [page, f.i64(BigInt(CODE_LAPSED))])
    this.giveUpUnless(f.pure('i64.eq', 'i32', [f.load('i64.load', 'i64', entry, CodeTlbEntry.tag), lapsed]))
    const known = f.load('i32.load', 'i32', entry, CodeTlbEntry.page)
    this.giveUpUnless(known)
    this.walk(kind)
    const leaf = f.getLocal(this.leaf)
    this.giveUpIf(f.getLocal(this.within))
    this.giveUpUnless(this.and(leaf, A))
    this.giveUpUnless(this.and(f.getLocal(this.rights), US))
    this.giveUpIf(this.and(this.op('ne', this.and(leaf, G), 0), this.op('ne', this.and(this.field('cr4'), CR4_PGE), 0)))
    const found = this.pageOfLeaf()
    this.giveUpUnless(this.op('eq', this.op('shr_u', found, 12), known))
    // It must be RAM still: the local APIC's page can be moved over it.
    this.frameOf(found)
    f.store('i64.store', entry, page, CodeTlbEntry.tag)
    f.store('i32.store', this.op('add', this.cpu, this.op('shl', count, 2)), entry, offsetOf('renewed'))
    f.store('i32.store', this.cpu, this.op('add', count, 1), offsetOf('renewals'))
    f.return(f.i32(RENEWED))
    return f.encode()
  }
}

/** `(cpu, lo, hi) → RENEWED where the code lookup's lapsed entry for a linear address holds again, else LEFT` */
export const buildCodeRenewal = (): Uint8Array => new RenewalEmitter().build()
