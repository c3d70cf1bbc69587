import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { FirnError } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import type { JobQueue } from '#libs/queue/queue.js'
import { counted } from '#libs/vault/wrappers/counted.js'
import { lookAt } from '../../test/tree.js'
import { consentTo } from './offer.js'
import { agree, openRetrieval, retrieve } from './retrieve.js'
import { runRetriever } from './retriever.js'
import { openStory, REQUEST, type ScratchStory, smallFiles } from './scratch-story.js'

let at: ScratchStory
let root: string
/** Of the vault: how often it was asked how thaws stand. */
let looks = 0

beforeAll(async () => {
  at = await openStory({ thawSeconds: 1 })
  root = at.tree('cold', smallFiles(20))
  await at.archive(at.request([root], { filesPerBundle: 10 }))
  at.wrap((vault) =>
    counted(vault, ({ operation }) => {
      if (operation === 'thawStates') looks++
    }),
  )
})
afterAll(async () => at[Symbol.asyncDispose]())

function start(owner: string, queue: Pick<JobQueue, 'work' | 'every'> = at.parts.queue) {
  const stopping = new AbortController()
  const duties: boolean[] = []
  const done: string[] = []
  const parts = {
    ...at.parts,
    queue,
    owner,
    isGone: (other: string) => other === 'killed',
  }
  const running = runRetriever(parts, {
    signal: stopping.signal,
    checkSeconds: 600,
    standByMs: 50,
    restoreDir: rawFromText(at.path(`restored-${owner}`)),
    permits: async () => ({ overwrite: true, setuid: true }),
    onDuty: (mine) => duties.push(mine),
    onDone: ({ id }) => done.push(id),
  })
  return {
    parts,
    duties,
    done,
    stop: async () => {
      stopping.abort(new Error('stopped'))
      await running
    },
  }
}

const open = async (target: string, detached: boolean) => {
  const retrieval = await openRetrieval(at.parts, {
    ...REQUEST,
    selection: { paths: [rawFromText(root)] },
    target: rawFromText(target),
    detached,
  })
  const wakeRetriever = () => at.parts.queue.add('watch-retrievals', {})
  return agree({ ...at.parts, wakeRetriever }, retrieval?.id as string, consentTo(undefined))
}

async function until(happened: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await happened()) return
    await sleep(50)
  }
  throw new Error('it did not happen')
}

test('a queue that takes no schedule keeps nobody from looking', async () => {
  const away = {
    work: at.parts.queue.work,
    every: () => Promise.reject(new FirnError('try-again', 'The queue is away.')),
  }
  const before = looks
  const retriever = start('alone', away)
  try {
    await open('', true)
    await until(() => looks > before && retriever.done.length > 0)
  } finally {
    await retriever.stop()
  }
})

test('of two one is on duty, wakes up when it is called, and the other takes over when it goes', async () => {
  const one = start('one')
  await until(() => one.duties.includes(true))
  const two = start('two')
  try {
    await until(() => two.duties.length > 0)
    expect(two.duties).toEqual([false])
    // Far sooner than in 600 s.
    const first = await open('', true)
    await until(() => one.done.includes(first.id))
    expect(lookAt(at.path('restored-one', first.id, root))).toEqual(lookAt(root))
    await one.stop()
    await until(() => two.duties.includes(true))
    const second = await open('', true)
    await until(() => two.done.includes(second.id))
  } finally {
    await one.stop()
    await two.stop()
  }
  expect(await at.catalog.isOnDuty('retriever', () => false)).toBe(false)
}, 90_000)

test('takes over from one that was killed, with what it left', async () => {
  await at.catalog.takeDuty('retriever', 'killed', () => false)
  const left = await open('', true)
  const heir = start('heir')
  try {
    await until(() => heir.done.includes(left.id))
  } finally {
    await heir.stop()
  }
}, 60_000)

test('who waits for files sees in the catalog that they are ready, and asks the vault nothing', async () => {
  const retriever = start('watcher')
  try {
    await until(() => retriever.duties.includes(true))
    const retrieval = await open(at.path('back'), false)
    let fetched = 0
    const own = {
      ...retriever.parts,
      vaults: {
        open: async () =>
          counted(at.vault, ({ operation }) => {
            if (operation === 'thaw' || operation === 'thawStates') throw new Error('the command asked the vault')
            if (operation === 'read') fetched++
          }),
      },
    }
    const ended = await retrieve(own, retrieval.id, { target: retrieval.target, checkSeconds: 600 })
    expect(ended).toMatchObject({ state: 'done', filesRestored: 20 })
    expect(fetched).toBeGreaterThan(0)
    expect(looks).toBeGreaterThan(0)
  } finally {
    await retriever.stop()
  }
}, 60_000)
