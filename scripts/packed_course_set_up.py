# This settles, before all other imports, whether kernels are compiled or interpreted.
sys.path.insert(0, str(FOLDER))
from notebooks.course import here

print(here.introduction())
