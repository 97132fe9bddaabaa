/** The new user's path in Chromium, against `nestbox serve`. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Flow, MACHINE } from './flow'
import { ServedPages } from './served-page'
import { SCREENSHOTS } from './world'

let pages: ServedPages
let flow: Flow

beforeAll(async () => {
  pages = await ServedPages.start()
  flow = new Flow(await pages.open({ permissions: ['clipboard-read', 'clipboard-write'] }), { screenshots: SCREENSHOTS, prefix: 'browser' })
}, 60_000)

afterAll(async () => {
  await pages?.end()
})

describe('in a browser', () => {
  it('refuses a page without the token', async () => {
    const page = await (await pages.browser.newContext({ locale: 'en-US' })).newPage()
    await page.goto(new URL('/', pages.address).href)
    await page.getByText('This page needs its token').waitFor()
    await page.close()
  })

  it('creates and boots a machine from the starter image', () => flow.createFromStarter())
  it('answers uname in the terminal', () => flow.askUname())
  it('pauses and resumes', () => flow.pauseAndResume())

  it('keeps the keyboard in the console while somebody else pauses and resumes the machine', async () => {
    await flow.page.locator('.xterm:visible').click()
    pages.cli('vm', 'pause', MACHINE)
    await flow.waitForState(MACHINE, 'paused')
    await flow.page.keyboard.type('echo kept-$((40 + 2))\n', { delay: 15 })
    pages.cli('vm', 'resume', MACHINE)
    await flow.waitForText(/^kept-42$/m, 60_000)
  })

  it('opens an address the guest wrote, where it is clicked', async () => {
    const address = new URL('/linked', pages.address).href
    await flow.type(`echo ${address}?$((40 + 2))`)
    await flow.waitForText(/linked\?42$/m, 60_000)
    const box = await flow.page.locator('.xterm-rows:visible > div', { hasText: 'linked?42' }).last().boundingBox()
    const [x, y] = [(box?.x ?? 0) + 60, (box?.y ?? 0) + 10]
    // The terminal looks for links where the pointer moves.
    await expect.poll(async () => {
      await flow.page.mouse.move(x + 20, y)
      await flow.page.mouse.move(x, y)
      return flow.page.locator('.xterm-cursor-pointer').count()
    }, { timeout: 15_000 }).toBe(1)
    const [page] = await Promise.all([flow.page.context().waitForEvent('page'), flow.page.mouse.click(x, y)])
    expect(page.url()).toBe(`${address}?42`)
    await page.close()
  })

  it('shows figures', () => flow.lookAtOverview())

  it('keeps the console text over a reload of the page', async () => {
    await flow.page.reload()
    await flow.page.getByRole('tab', { name: 'Console' }).click()
    await flow.waitForText(/GNU\/Linux/, 30_000)
  })

  it('searches the console, changes its text size, pastes into it and copies from it', () => flow.consoleTools())
  it('shows both ports side by side, and goes from one to the other with the keyboard', () => flow.consolesSideBySide())
  it('powers off from inside the guest', () => flow.powerOffFromInside())
  it('deletes to the trash and restores', () => flow.deleteAndRestore())

  it('made no error in the page', () => {
    expect(pages.problems).toEqual([])
  })
})
