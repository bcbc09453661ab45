"""What the command does: each verb, in modules by what they are about."""
