/** A page on a slow computer: NB_E2E_SLOW=6 gives every page of the end-to-end tests a sixth of the processor, so that what is only quick enough here fails here too. */
import type { Page } from 'playwright-core'

const MOST = 20

/** How many times slower pages are. 1 unless NB_E2E_SLOW says otherwise. @throws when it is not a number from 1 to 20 */
export function slowness(value = process.env.NB_E2E_SLOW): number {
  if (!value) return 1
  const rate = Number(value)
  if (!(rate >= 1 && rate <= MOST)) throw new Error(`NB_E2E_SLOW is '${value}': give a number from 1 to ${MOST}`)
  return rate
}

/** Slows a page down as long as it lives, through the browser's own emulation (Emulation.setCPUThrottlingRate). */
export async function slowDown(page: Page): Promise<void> {
  const rate = slowness()
  if (rate === 1) return
  const session = await page.context().newCDPSession(page)
  await session.send('Emulation.setCPUThrottlingRate', { rate })
}
