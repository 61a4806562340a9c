"""Logins by the system's ssh(1): a ControlMaster that vizdash starts, or one of the user."""
