throw new Error("this package is left out of the test peers: see overrides in tests/js/package.json");
