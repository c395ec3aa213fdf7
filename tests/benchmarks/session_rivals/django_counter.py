"""The counter as a Django site: one view behind the session middleware."""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path


def configure(backend, place):
    """Set up Django for one of its session backends, ``file`` or ``db``, with data in *place*."""
    settings.configure(
        ROOT_URLCONF=__name__,
        SECRET_KEY="of the benchmark",
        ALLOWED_HOSTS=["127.0.0.1"],
        INSTALLED_APPS=["django.contrib.sessions"],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        SESSION_ENGINE=f"django.contrib.sessions.backends.{backend}",
        SESSION_FILE_PATH=place,
        SESSION_COOKIE_AGE=1800,
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": f"{place}/django.db",
                "CONN_MAX_AGE": None,
                "OPTIONS": {
                    "timeout": 60,
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=wal; PRAGMA synchronous=normal;",
                },
            }
        },
    )
    django.setup()


def application(backend, place):
    """Return the WSGI application."""
    configure(backend, place)
    return get_wsgi_application()


def count(request):
    request.session["hits"] = request.session.get("hits", 0) + 1
    return HttpResponse(str(request.session["hits"]), content_type="text/plain")


def hello(request):
    return HttpResponse("Hello, world", content_type="text/plain")


urlpatterns = [path("", count), path("hello", hello)]
