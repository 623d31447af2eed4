__version__ = "0.1.0"
#: of the plug-script contract, docs/contract.md
CONTRACT_VERSION = 1
