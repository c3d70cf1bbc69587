import { availableParallelism } from 'node:os'

// Jest runs on compiled files: worker threads need JavaScript, and the tests then see what users run.
export default {
  testEnvironment: 'node',
  rootDir: 'dist',
  testMatch: ['**/*.test.js'],
  transform: {},
  globalSetup: './test/global-setup.js',
  globalTeardown: './test/global-teardown.js',
  setupFiles: ['./test/seed.js'],
  testSequencer: './test/sequencer.js',
  testTimeout: 180_000,
  // Half of the time a suite waits: for a process to start, for a server. One suite for each processor, and one more.
  maxWorkers: availableParallelism() + 1,
}
