module.exports = {
  preset: "@react-native/jest-preset",
  setupFiles: ["<rootDir>/native.js"], // behind the preset's own
  transformIgnorePatterns: ["node_modules/(?!((jest-)?react-native|@react-native(-community)?|trunkline)/)"],
  testMatch: ["<rootDir>/*.test.js"],
  watchman: false,
  maxWorkers: 1,
  testTimeout: 60_000,
};
