"""The three LightningModules over one shared base."""
