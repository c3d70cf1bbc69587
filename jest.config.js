// Jest runs on compiled files: worker threads need JavaScript, and the tests then see what users run.
export default {
  testEnvironment: 'node',
  rootDir: 'dist',
  testMatch: ['**/*.test.js'],
  transform: {},
  globalSetup: './test/global-setup.js',
  globalTeardown: './test/global-teardown.js',
  testTimeout: 60_000,
}
