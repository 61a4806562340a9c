"""Login by the system's own ssh(1): a ControlMaster, of vizdash's or of the person's own."""
