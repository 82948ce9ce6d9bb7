# /// script
# dependencies = ["nox", "buildmatrix"]
# ///
import buildmatrix.sessions
buildmatrix.sessions.register()
