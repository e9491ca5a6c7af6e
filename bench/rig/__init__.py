"""The rig: a load generator, floors to compare with, other servers, and what counts their processor time."""
