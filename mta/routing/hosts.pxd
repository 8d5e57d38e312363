# Compiled as it stands: every dial asks for its targets.
