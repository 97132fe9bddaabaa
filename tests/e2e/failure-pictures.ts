/** What every open page showed when a test failed, as a picture named after the test: whoever imports this has it in its whole file. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterEach } from 'vitest'
import { SCREENSHOTS } from './world'

/** A page that hangs gives no picture, and holds nothing up. */
const PICTURE_MS = 10_000

const pages = new Set<Page>()

/** Draws the page at each failure as long as it is open. */
export function watchPage(page: Page): void {
  pages.add(page)
  page.once('close', () => pages.delete(page))
}

const fileName = (test: string): string => test.replaceAll(/[^\p{L}\p{N}]+/gu, '-').slice(0, 80)

afterEach(async ({ task }) => {
  if (task.result?.state !== 'fail') return
  await mkdir(SCREENSHOTS, { recursive: true })
  await Promise.allSettled([...pages].map((page, i) => page.screenshot({ path: join(SCREENSHOTS, `failed-${fileName(task.name)}-${i}.png`), timeout: PICTURE_MS })))
})
