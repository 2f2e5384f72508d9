//! The test rig: a real chain, published peers, scripted facilitators.
